package web

// page is one page: what a browser gets at /ui/NAME.
type page struct {
	name  string
	title string
	// open: it takes no session.
	open bool
	// nav is the text of its link in the navigation; "" is none.
	nav string
	// admin: its link is for superusers only.
	admin bool
	// get shows the page, and post does what a form of it asks for; nil: it cannot.
	get, post func(*visit) error
	// upload: its forms hold a value of a secret, and may be as large.
	upload bool
	// shares: its forms hold shares of the unseal key; see lastAnswer.
	shares bool
}

// table has all pages, in the order of the navigation.
func table() []*page {
	return []*page{
		{name: "", title: "Overview", nav: "Overview", get: showOverview},
		{name: "secrets", title: "Secrets", nav: "Secrets", get: showSecrets, post: changeSecrets},
		{name: "secrets-rows", title: "Secrets", get: showSecretRows},
		{name: "deleted", title: "Deleted secrets", get: showDeleted, post: undelete},
		{name: "secret", title: "Secret", get: showSecret, post: changeSecret},
		{name: "secret-new", title: "New secret", get: showNewSecret, post: createSecret, upload: true},
		{name: "secret-edit", title: "Write a secret", get: showEditor, post: editSecret, upload: true},
		{name: "secret-value", post: sendValue},
		{name: "secret-compare", title: "Compare versions", get: compareVersions, post: showComparison},
		{name: "secret-access", title: "Who can do what", get: showReaders},
		{name: "check", title: "Check a definition", nav: "Check", get: showCheck, post: check},
		{name: "access", title: "Access", nav: "Access", admin: true, get: showAccess, post: changeAccess},
		{name: "account", title: "Account", get: showAccount, post: changeAccount},
		{name: "group", title: "Group", get: showGroup, post: changeGroup},
		{name: "explain", title: "Who may do what", nav: "Permissions", get: showExplain},
		{name: "keys", title: "Keys", nav: "Keys", admin: true, get: showKeys, post: changeKeys},
		{name: "servers", title: "Servers", nav: "Servers", admin: true, get: showServers},
		{name: "audit", title: "Audit log", nav: "Audit", admin: true, get: showAudit},
		{name: "unseal", title: "Unseal", admin: true, get: showUnseal, post: unseal, shares: true},
		{name: signInPage, title: "Sign in", open: true, get: showSignIn, post: signIn},
		{name: "sign-out", title: "Signed out", open: true, get: showSignedOut, post: signOut},
		{name: barPage, open: true, get: showBar},
	}
}

func pages() map[string]*page {
	all := make(map[string]*page)
	for _, p := range table() {
		all[p.name] = p
	}
	return all
}
