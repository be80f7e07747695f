# syntax=docker/dockerfile:1
# The images of the operator and the gate:
#   docker build --target manager -t bartizan-dev/manager .
#   docker build --target authproxy -t bartizan-dev/authproxy .
# "make images" builds the same from the same files without a container engine.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY api ./api
COPY cmd ./cmd
COPY controllers ./controllers
COPY internal ./internal
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o /out/ ./cmd/manager ./cmd/authproxy

FROM scratch AS manager
COPY --from=build /out/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]

FROM scratch AS authproxy
COPY --from=build /out/authproxy /authproxy
USER 65532:65532
ENTRYPOINT ["/authproxy"]
