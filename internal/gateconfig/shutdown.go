package gateconfig

// How a pod ends without dropping a request; docs/shutdown.md draws the timeline. All count from the beginning of the
// pod's termination, in seconds.
const (
	// AcceptSeconds is how long a draining gate, already not ready, still accepts connections and answers requests, each
	// answer asking its connection to move on. Endpoints are withdrawn everywhere within this time.
	AcceptSeconds = 10
	// DrainSeconds is the preStop sleep of the server's container: the time that requests have to end before the server
	// is told to stop. It leaves those that arrive last DrainSeconds-AcceptSeconds.
	DrainSeconds = 15
	// GraceSeconds is the pod's terminationGracePeriodSeconds: the drain, then the time for a server that finishes long
	// calls after its SIGTERM, then the gate's own end.
	GraceSeconds = 45
)

// RunDirectory is an emptyDir that only the gate's container mounts, writable. DrainSocket is in it: the preStop hook of
// the gate's container, DrainCommand, tells the gate through it that the pod's termination has begun.
const (
	RunDirectory = "/run/bartizan"
	DrainSocket  = RunDirectory + "/drain.sock"
)

// DrainCommand returns the exec command of the preStop hook of the gate's container. It returns once the gate has no
// request any more, DrainSeconds later at the latest.
func DrainCommand() []string { return []string{"/authproxy", "drain"} }
