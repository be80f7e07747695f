package main

import (
	"fmt"
	"net/http"
	"strings"
)

// standIn answers the few requests of the Kubernetes API that listing pods takes, so that the real MCP server has something
// to show before there is a cluster.
func standIn() http.Handler {
	answers := map[string]string{
		"/api":                         `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":                        `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1":                      `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"]}]}`,
		"/api/v1/namespaces/shop/pods": table("shop", "checkout-7d9f", "catalogue-5c41", "payments-8be2"),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"the stand-in does not have this","code":404}`
		}
		fmt.Fprint(w, answer)
	})
}

// table is the form in which the API server answers kubectl get.
func table(namespace string, pods ...string) string {
	var rows []string
	for _, pod := range pods {
		rows = append(rows, fmt.Sprintf(`{"cells":[%q,"1/1","Running"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":%q,"namespace":%q}}}`, pod, pod, namespace))
	}
	return `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[` +
		`{"name":"Name","type":"string"},{"name":"Ready","type":"string"},{"name":"Status","type":"string"}],` +
		`"rows":[` + strings.Join(rows, ",") + `]}`
}
