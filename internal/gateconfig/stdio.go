package gateconfig

// Where the parts of a Stdio server are found. InstallDirectory is an emptyDir with the gate's binary, which the server's
// container runs as "authproxy stdio"; that listens on StdioSocket in StdioDirectory, an emptyDir that only this container and
// the gate's mount.
const (
	InstallDirectory = "/run/bartizan-bin"
	InstalledBinary  = InstallDirectory + "/authproxy"
	StdioDirectory   = "/run/bartizan-stdio"
	StdioSocket      = StdioDirectory + "/mcp.sock"
	// SocketPrefix begins the address of a Unix socket; its path follows.
	SocketPrefix = "unix:"
)
