package podcall

// The verbs of the restore pod: names and requests.
const (
	Look    = "look"    // no request; Looked
	Unpack  = "unpack"  // backup's own request; Unpacked
	Try     = "try"     // TryRequest; Ready with the scratch server's URL
	Swap    = "swap"    // SwapRequest
	Discard = "discard" // a cluster's name
	Asides  = "asides"  // no request; a list of target.Aside
	Drop    = "drop"    // an aside's name
)

// Looked is what the volume looks like.
type Looked struct {
	System uint64 `json:"system"` // identifier of the live data; 0 when it is too damaged to say
	Exists bool   `json:"exists"` // there is live data
	Free   int64  `json:"free"`   // bytes
	Live   string `json:"live"`   // name of the cluster that is live, "" for the one that the server's image made
}

// Unpacked is where a backup was unpacked to, and what was found in it.
type Unpacked[Found any] struct {
	Dir   string `json:"dir"`
	Found Found  `json:"found"`
}

// TryRequest says which cluster to start a scratch server on, and where it listens.
type TryRequest struct {
	Dir      string `json:"dir"`
	Address  string `json:"address"`            // of the pod
	Port     int    `json:"port"`               //
	RootCert string `json:"rootCert,omitempty"` // where those who connect find the CA, for the URL
}

// SwapRequest says what goes live, and what becomes of what is.
type SwapRequest struct {
	Dir     string `json:"dir"`
	Aside   string `json:"aside"`
	Stopped bool   `json:"stopped"` // the caller has seen the live server's pod gone
	// Pod is the value of PodVariable in the pod that was there when the caller saw that. One that somebody made later, when the server may run
	// again, has another. "" is a pod without.
	Pod string `json:"pod,omitempty"`
}

// PodVariable is the environment variable by which a restore pod differs from all others of its name.
const PodVariable = "RESTORE_POD_TOKEN"
