package wire

// SignedInPath is where the command line of DC/OS asks whether it is signed in: 401
// without a valid token.
const SignedInPath = "/pkgpanda/active.buildinfo.full.json"
