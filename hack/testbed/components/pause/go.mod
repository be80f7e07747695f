module github.com/bartizan-dev/bartizan/hack/testbed/components/pause

go 1.26.0
