// Command externalsecrets is the external-secrets controller with the providers and generators that tests use (see overlay/).
package main

import "github.com/external-secrets/external-secrets/cmd/controller"

func main() {
	controller.Execute()
}
