module github.com/bartizan-dev/bartizan/hack/testbed/components/probe

go 1.26.0
