package gatetest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// Span is a span with its attributes and those of its resource, as strings.
type Span struct {
	*tracev1.Span
	Attributes, Resource map[string]string
}

// Spans decodes a line as the OTLP File Exporter writes them. Nothing in it may be unknown to OTLP.
func Spans(t testing.TB, line string) (all []Span) {
	t.Helper()
	// In OTLP's JSON ids are hexadecimal, in that of other protocol buffers bytes are in base64.
	var tree any
	if err := json.Unmarshal([]byte(line), &tree); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	var convert func(any)
	convert = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, one := range node {
				convert(one)
			}
		case map[string]any:
			for name, value := range node {
				if name != "traceId" && name != "spanId" && name != "parentSpanId" {
					convert(value)
					continue
				}
				text, _ := value.(string)
				id, err := hex.DecodeString(text)
				if err != nil {
					t.Fatalf("%s is %q", name, text)
				}
				node[name] = base64.StdEncoding.EncodeToString(id)
			}
		}
	}
	convert(tree)
	converted, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var data tracev1.TracesData
	if err := protojson.Unmarshal(converted, &data); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, resource := range data.ResourceSpans {
		of := texts(resource.GetResource().GetAttributes())
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				all = append(all, Span{span, texts(span.Attributes), of})
			}
		}
	}
	return all
}

func texts(attributes []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[a.Key] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return m
}
