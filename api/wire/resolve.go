package wire

// ResolveRequest is one of the bodies of POST /resolve and POST /check, for
// clients that place secrets by their own rules. The others are Marathon's apps
// and pods, Metronome's jobs, and arrays of all of these.
type ResolveRequest struct {
	Service string                  `json:"service"` // "" and "/": the root service
	Secrets map[string]SecretSource `json:"secrets"`
}

// SecretSource names a secret, as in the definitions of Marathon.
type SecretSource struct {
	Source string `json:"source"` // its path
}

// Resolved is the answer to POST /resolve for one definition.
type Resolved struct {
	Service string `json:"service"`
	// Env are environment variables. For a pod they are those that are the same
	// in all containers that set them; Containers has all of each container.
	Env   map[string]string `json:"env"`
	Files []ResolvedFile    `json:"files"` // never null on the wire
	// PullConfig is for pulling the image; for a pod it is set if all
	// containers that have one have the same.
	PullConfig *ResolvedPullConfig `json:"pull_config,omitempty"`
	// Containers are those of a pod, by name.
	Containers map[string]ResolvedContainer `json:"containers,omitempty"`
	// Secrets are those of a ResolveRequest, by its names; absent for other
	// forms.
	Secrets map[string]ResolvedSecret `json:"secrets,omitempty"`
}

// ResolvedFile is a secret to be written to a file.
type ResolvedFile struct {
	// Path is that of the definition: relative to the sandbox, or absolute in
	// the container; it does not contain `..`.
	Path      string `json:"path"`
	Container string `json:"container"` // of a pod; "" elsewhere
	Value     []byte `json:"value_base64"`
	Mode      string `json:"mode"` // octal: "0400", or "0600" where the task may write
}

// ResolvedPullConfig is a Docker config: Value if it is stored as text, Bytes
// otherwise.
type ResolvedPullConfig struct {
	Secret string  `json:"secret"` // its name in the definition
	Value  *string `json:"value,omitempty"`
	Bytes  []byte  `json:"value_base64,omitempty"`
}

// ResolvedContainer is what one container of a pod gets besides its files.
type ResolvedContainer struct {
	// Env are all its variables, including those of the pod.
	Env        map[string]string   `json:"env"`
	PullConfig *ResolvedPullConfig `json:"pull_config,omitempty"`
}

// ResolvedSecret is a value: Value if it is stored as text, Bytes otherwise.
type ResolvedSecret struct {
	Value *string `json:"value,omitempty"`
	Bytes []byte  `json:"value_base64,omitempty"`
	// ETag is the entity tag of the secret, with its quotes.
	ETag string `json:"etag"`
}

// Findings is the answer to POST /check.
type Findings struct {
	Findings []Finding `json:"findings"` // never null on the wire
}

// The severities of a finding.
const (
	SeverityError   = "error"   // a deployment would fail
	SeverityWarning = "warning" // probably a mistake
)

// Finding is one problem of a definition, or of a secret that it needs.
type Finding struct {
	Service  string `json:"service"`
	Severity string `json:"severity"`
	Secret   string `json:"secret"` // its name in the definition
	Source   string `json:"source"` // its path; "" if it is unknown
	Where    string `json:"where"`  // such as environment variable "DB"
	Problem  string `json:"problem"`
	Mend     string `json:"mend"` // what to do
}
