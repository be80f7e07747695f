package v1alpha1

// LabelServer names on what the operator makes of an MCPServer, and on its pods, that MCPServer; alone it selects the pods.
const LabelServer = "bartizan.dev/server"
