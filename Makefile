# Everything here works on a machine with Go, a C compiler for the race detector, git, make and, for the cluster, the packages of
# hack/packages.sh. What is compiled is kept in Go's build cache and in $XDG_CACHE_HOME/bartizan.

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
export GOTOOLCHAIN ?= local
# The checkout may be owned by somebody else, as in a container.
export GOFLAGS ?= -buildvcs=false

TOOL := go tool -modfile=hack/tools/go.mod
FUZZTIME ?= 10s
ROTATIONS ?= 20
DASHBOARD_FOR ?= 15m
IMAGE_PREFIX ?= bartizan-dev/
VERSION ?= dev
ARCHITECTURES ?= amd64,arm64
REGISTRY ?= ghcr.io/bartizan-dev
RELEASE_FLAGS = --version $(VERSION) --architectures $(ARCHITECTURES) --registry $(REGISTRY)

##@ See it

.PHONY: demo
demo: ## A real cluster, the operator, a real MCP server behind its gate: what is allowed succeeds, every attack fails
	go run ./hack/demo run

.PHONY: demo-local
demo-local: ## The gate alone, before a real MCP server, as processes of this machine: within 3 minutes
	go run ./hack/demo local

.PHONY: dev
dev: ## The demo's cluster with your operator in it, built and installed again at each change of the checkout
	go run ./hack/demo dev

.PHONY: from-clone
from-clone: ## How long it takes from a clone of this checkout to a guarded server in a cluster: EMPTY=1 with empty caches, which is slow
	@clone=$$(mktemp -d) && trap 'chmod -R u+w "$$clone"; rm -rf "$$clone"' EXIT && started=$$(date +%s) && git clone -q . "$$clone/clone" && cd "$$clone/clone" && \
		$(if $(EMPTY),XDG_CACHE_HOME="$$clone/cache" GOCACHE="$$clone/build" GOMODCACHE="$$clone/modules") bash -c 'make demo; status=$$?; $(if $(EMPTY),make down;) exit $$status' && \
		echo "from a clone to a guarded server, and every attempt on it: $$(( $$(date +%s) - started )) s"

.PHONY: down
down: ## Take the demo's cluster down, without a trace
	go run ./hack/demo down

##@ Test it

.PHONY: test
test: ## Everything that CI runs, with the number of tests by kind at the end
	@go run ./hack/check all

.PHONY: unit
unit: ## The tests that need nothing but Go
	@go run ./hack/check unit

.PHONY: conformance
conformance: ## The MCP conformance suite, without and behind the gate; it needs npm
	@go run ./hack/check conformance

.PHONY: integration
integration: ## The tests on a real API server, and of the programs that the gate is compared with
	@go run ./hack/check integration

.PHONY: integration-next
integration-next: ## The same on the API server of the next version, 1.37, which is compiled once for that
	@BARTIZAN_KUBERNETES=1.37 go run ./hack/check integration

.PHONY: e2e
e2e: ## The demo and the tests on a real cluster; KEEP_CLUSTER=1 leaves it there
	@go run ./hack/check e2e

.PHONY: gitops
gitops: ## Flux's real controllers install, change, break, heal and prune it all, by commits; KEEP_CLUSTER=1 leaves the cluster there
	@go run ./hack/check gitops

.PHONY: samples
samples: ## The samples of real servers (config/samples) on the demo's cluster: each is applied, gets ready, and serves what its policy allows
	@go run ./hack/check samples

.PHONY: elsewhere
elsewhere: ## The demo as on a cluster of your own, by a kubeconfig and a registry, and its removal; KEEP_CLUSTER=1 leaves the cluster there
	@go run ./hack/check elsewhere

.PHONY: dashboard
dashboard: ## docs/dashboard.svg, drawn of what a real Prometheus has read on the demo's cluster, which is in use for DASHBOARD_FOR (15m)
	go run ./hack/demo run
	BARTIZAN_DASHBOARD=$(CURDIR)/docs/dashboard.svg BARTIZAN_DASHBOARD_FOR=$(DASHBOARD_FOR) go test -count=1 -timeout 4h -run 'TestE2EMonitoring$$' -v ./test/e2e

.PHONY: soak
soak: ## The rotation of keys, certificates and authorities under load on a real cluster, ROTATIONS (20) times for each client
	go run ./hack/demo up
	BARTIZAN_ROTATIONS=$(ROTATIONS) go test -count=1 -timeout 4h -run 'TestE2ERotation$$' -v ./test/e2e

.PHONY: sabotage
sabotage: ## Each control broken on a real cluster, and what is seen of it, to the table of docs/posture.md; make e2e does the same without writing
	go run ./hack/demo up
	go test -count=1 -timeout 30m -run 'TestE2ESabotage$$' -v ./test/e2e -update

.PHONY: verification-load
verification-load: ## SERVERS (500) servers verified every INTERVAL (10m), on a real API server with gates that are played: what the operator uses of a CPU, 0.2 at most
	go test -count=1 -timeout 0 -run 'TestIntegrationVerificationLoad$$' -v ./test/load -servers $(or $(SERVERS),500) -namespaces 10 -interval $(or $(INTERVAL),10m) -most-cores 0.2

.PHONY: verify
verify: ## Generated files and docs up to date, format, vet, lint, licences, house rules
	@go run ./hack/check verify

.PHONY: lint
lint: ## The linters alone
	@go run ./hack/check verify lint

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (10s)
	@go run ./hack/check fuzz $(FUZZTIME)

.PHONY: bench
bench: ## The gate beside HAProxy, nginx and others, in 20 minutes, to docs/benchmarks.md and .json; QUICK=1 only shows that all can be measured
	go run ./test/bench $(if $(QUICK),--quick)

.PHONY: attack-table
attack-table: ## The hostile requests and answers of test/corpus against the gate, HAProxy, nginx, kube-rbac-proxy and ToolHive, to docs/attacks.md
	go run ./test/attack

.PHONY: race
race: ## A million requests with random credentials and cancellations under the race detector: no answer reaches another caller
	go test -race -count=1 -timeout 0 -v -run '^TestCanaries$$' ./internal/authproxy/gate -canary-requests 1000000

.PHONY: parsers
parsers: ## What the gate accepts against what JavaScript and Python read of it: two million messages made up; it needs npm and python3
	go test -count=1 -timeout 0 -v -run '^TestConformanceParsers$$' ./test/conformance -parser-cases 2000000

.PHONY: vulncheck
vulncheck: ## Known vulnerabilities in what is linked; VULNDB=file:///folder works offline
	$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) ./cmd/...

##@ Build it

.PHONY: build
build: ## The programs, to bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

.PHONY: images
images: build ## The images of the operator and the gate, to dist/, without a container engine
	@mkdir -p dist
	@for name in manager authproxy; do \
		go -C hack/images run . build --name $(IMAGE_PREFIX)$$name:$(VERSION) --out $(CURDIR)/dist/$$name.tar \
			--file $(CURDIR)/bin/$$name:/$$name --entrypoint /$$name || exit 1; \
	done

.PHONY: release
release: ## All files of a release, to dist/release, without publishing anything: VERSION=v0.1.0; PUSH=1 pushes the images
	go run ./hack/release $(RELEASE_FLAGS) $(if $(PUSH),--push)

.PHONY: release-again
release-again: ## Builds the same release in a clone elsewhere, and compares all files
	@clone=$$(mktemp -d) && trap 'rm -rf "$$clone"' EXIT && git clone -q . "$$clone/elsewhere" && \
		(cd "$$clone/elsewhere" && go run ./hack/release $(RELEASE_FLAGS) >/dev/null) && \
		diff -r dist/release "$$clone/elsewhere/dist/release" && echo "the same files: $$(wc -l < dist/release/checksums.txt)"

.PHONY: generate
generate: ## Deep copies, apply configurations, CRDs, roles, the API reference, the chart's parts and dist/install.yaml
	$(TOOL) controller-gen object applyconfiguration crd:allowDangerousTypes=false paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=manager-role paths=./controllers/... output:rbac:dir=config/rbac/manager
	$(TOOL) crd-ref-docs --source-path=api/v1alpha1 --config=hack/tools/crd-ref-docs.yaml --renderer=markdown --log-level=ERROR --output-path=docs/api.md
	go run ./hack/chart
	@mkdir -p dist
	go run ./hack/tool kustomize build config/default --output dist/install.yaml

.PHONY: packages
packages: ## The Debian packages that the cluster needs
	hack/packages.sh

.PHONY: help
help: ## This
	@awk 'BEGIN { FS = ":.*## "; printf "make TARGET\n" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
