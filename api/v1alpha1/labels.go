package v1alpha1

// LabelServer names on what the operator makes of an MCPServer, and on its pods, that MCPServer; alone it selects the pods.
const LabelServer = "bartizan.dev/server"

// GateContainer is the container of an MCPServer's pods that runs the gate.
const GateContainer = "gate"
