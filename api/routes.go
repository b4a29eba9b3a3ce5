package api

import (
	"net/http"

	"secretstore/acl"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/admin"
	"secretstore/api/internal/head"
	"secretstore/seal"
)

// handlers answer the requests, by subject.
type handlers struct {
	store   *seal.Store
	change  *changer
	secrets *secrets
	stores  *admin.Stores
	keys    *admin.Keys
	batches *batches
	watches *watches
	tasks   *tasks
	backups *backups
	audit   *auditor
	access  *access
	health  *health
	https   *https
	acs     *acs.Handlers
}

// endpoints returns the whole surface of the server. The paths of secrets come
// first: nearly all requests ask for them, and the router tries the rows in
// order. A row with a form follows the one without.
func endpoints(h *handlers) []*endpoint {
	return append([]*endpoint{
		{name: "secret.read", method: http.MethodGet, path: "/secret/", op: acl.ReadSecret, unsealed: true, behalf: true, spends: true, run: h.secrets.read},
		{name: "secret.list", method: http.MethodGet, path: "/secret/", form: head.FormList, op: acl.ListSecrets, unsealed: true, run: h.secrets.list},
		{name: "secret.list.deleted", method: http.MethodGet, path: "/secret/", form: head.FormDeleted, op: acl.ListSecrets, unsealed: true, run: h.secrets.listDeleted},
		{name: "secret.list.search", method: http.MethodGet, path: "/secret/", form: head.FormSearch, op: acl.SearchNames, unsealed: true, run: h.secrets.search},
		{name: "secret.list.children", method: http.MethodGet, path: "/secret/", form: head.FormChildren, op: acl.SearchNames, unsealed: true, run: h.secrets.children},
		{name: "secret.version", method: http.MethodGet, path: "/secret/", form: head.FormVersion, op: acl.ReadVersions, unsealed: true, run: h.secrets.readVersion},
		{name: "secret.versions", method: http.MethodGet, path: "/secret/", form: head.FormVersions, op: acl.ReadVersions, unsealed: true, run: h.secrets.listVersions},
		{name: "secret.watch", method: http.MethodGet, path: "/secret/", form: head.FormWatch, op: acl.ReadSecret, unsealed: true, behalf: true, spends: true, run: h.watches.watch},
		{name: "secret.create", method: http.MethodPut, path: "/secret/", op: acl.CreateSecret, unsealed: true,
			effect: "the secret was created", body: h.secrets.bodyOfCreate, run: h.secrets.create},
		{name: "secret.update", method: http.MethodPatch, path: "/secret/", op: acl.UpdateSecret, unsealed: true,
			effect: "the secret was changed", body: h.secrets.bodyOfWrite, run: h.secrets.update},
		{name: "secret.delete", method: http.MethodDelete, path: "/secret/", op: acl.DeleteSecret, unsealed: true,
			effect: "the secret was deleted", run: h.secrets.delete},
		{name: "secret.version.delete", method: http.MethodDelete, path: "/secret/", form: head.FormVersion, op: acl.DeleteSecret, unsealed: true,
			effect: "a version of the secret was removed", run: h.secrets.deleteVersion},
		{name: "secret.purge", method: http.MethodDelete, path: "/secret/", form: head.FormPurge, op: acl.DeleteSecret, unsealed: true,
			effect: "the secret was purged", run: h.secrets.purge},
		{name: "secret.undelete", method: http.MethodPut, path: "/undelete/", op: acl.CreateSecret, unsealed: true,
			effect: "the secret was undeleted", run: h.secrets.undelete},
		{name: "secret.history.create", method: http.MethodPut, path: "/history/", op: acl.Administer, unsealed: true,
			effect: "the secret was created with its history", body: h.secrets.bodyOfWhole, malformed: textBadWhole, run: h.secrets.createWhole},

		{name: "secret.resolve", method: http.MethodPost, path: "/resolve/{store}", op: acl.ResolveSecrets, unsealed: true, reads: true, spends: true,
			body: bodyOfDefinitions, run: h.batches.resolve},
		{name: "secret.check", method: http.MethodPost, path: "/check/{store}", op: acl.ResolveSecrets, unsealed: true, reads: true,
			body: bodyOfDefinitions, run: h.batches.check},
		{name: "watch", method: http.MethodGet, path: "/watch/{store}", op: acl.WatchNames, unsealed: true, behalf: true, run: h.watches.stream},

		{name: "explain", method: http.MethodGet, path: "/explain", op: acl.UseAccount, about: true, unsealed: true, behalf: true, run: h.access.explain},
		{name: "who-can", method: http.MethodGet, path: "/who-can", op: acl.Administer, unsealed: true, run: h.access.whoCan},

		{name: "store.list", method: http.MethodGet, path: "/store", op: acl.ViewStore, run: show(h.store, h.stores.List)},
		{name: "store.show", method: http.MethodGet, path: "/store/{store}", op: acl.ViewStore, emergency: true, run: show(h.store, h.stores.Show)},
		{name: "seal-status", method: http.MethodGet, path: "/seal-status/{store}", op: acl.ViewStore, emergency: true, run: show(h.store, h.stores.SealStatus)},
		{name: "init.show", method: http.MethodGet, path: "/init/{store}", op: acl.Administer, emergency: true, run: show(h.store, h.stores.ShowInit)},
		{name: "init", method: http.MethodPut, path: "/init/{store}", op: acl.Administer, emergency: true,
			effect: "the store was initialized: GET /secrets/v1/init/default returns its keys", body: document(keysBody),
			malformed: admin.BadInit, run: administer(h.change, h.stores.Init)},
		{name: "unseal", method: http.MethodPut, path: "/unseal/{store}", op: acl.Administer, emergency: true, shares: true,
			effect: "the shares entered so far have changed: the seal status says whether the store is unsealed", body: document(smallBody),
			malformed: admin.BadUnseal, run: administer(h.change, h.stores.Unseal)},
		{name: "auto-unseal", method: http.MethodPut, path: "/auto-unseal/{store}", op: acl.Administer, emergency: true,
			effect: "the store was unsealed", body: document(smallBody), optional: true,
			malformed: admin.BadAutoUnseal, run: administer(h.change, h.stores.AutoUnseal)},
		{name: "seal", method: http.MethodPut, path: "/seal/{store}", op: acl.Administer, emergency: true,
			effect: "the store was sealed", brake: true, run: administer(h.change, h.stores.Seal)},
		{name: "nodes.show", method: http.MethodGet, path: "/nodes/{store}", op: acl.Administer, emergency: true, run: show(h.store, h.stores.ShowNodes)},

		{name: "rekey.show", method: http.MethodGet, path: "/rekey/{store}", op: acl.Administer, unsealed: true, run: show(h.store, h.keys.ShowRekey)},
		{name: "rekey", method: http.MethodPut, path: "/rekey/{store}", op: acl.Administer, shares: true, unsealed: true,
			effect: "a rekey was started: GET /secrets/v1/rekey/default returns its keys and nonce", body: document(keysBody),
			malformed: admin.BadRekey, run: administer(h.change, h.keys.StartRekey)},
		{name: "rekey.cancel", method: http.MethodDelete, path: "/rekey/{store}", op: acl.Administer, unsealed: true,
			effect: "the rekey was canceled", body: document(smallBody), optional: true,
			malformed: admin.BadCancel, run: administer(h.change, h.keys.CancelRekey)},
		{name: "rekey.approve", method: http.MethodPut, path: "/rekey/{store}/current", op: acl.Administer, shares: true, unsealed: true,
			effect: "the share was accepted: GET /secrets/v1/rekey/default says whether the rekey is approved", body: document(smallBody),
			malformed: admin.BadApprove, run: administer(h.change, h.keys.ApproveRekey)},
		{name: "rekey.verify", method: http.MethodPut, path: "/rekey/{store}/verify", op: acl.Administer, shares: true, unsealed: true,
			effect: "the share was accepted: GET /secrets/v1/rekey/default says whether the rekey is done", body: document(smallBody),
			malformed: admin.BadVerify, run: administer(h.change, h.keys.VerifyRekey)},
		{name: "rekey.recipients", method: http.MethodGet, path: "/rekey/{store}/recipients", op: acl.Administer, unsealed: true,
			run: show(h.store, h.keys.ShowRecipients)},
		{name: "rotate.show", method: http.MethodGet, path: "/rotate/{store}", op: acl.Administer, unsealed: true, run: show(h.store, h.keys.ShowRotation)},
		{name: "rotate", method: http.MethodPut, path: "/rotate/{store}", op: acl.Administer, unsealed: true,
			effect: "a new data key is in use: GET /secrets/v1/rotate/default shows the rotation", run: administer(h.change, h.keys.Rotate)},
		{name: "keys.show", method: http.MethodGet, path: "/keys/{store}", op: acl.Administer, emergency: true, run: show(h.store, h.keys.Show)},
		{name: "audit.show", method: http.MethodGet, path: "/audit", op: acl.Administer, run: show(h.store, h.audit.recent)},
		{name: "backup", method: http.MethodGet, path: "/backup/{store}", op: acl.MakeBackup, unsealed: true, run: h.backups.withoutKey},
		{name: "backup.key", method: http.MethodGet, path: "/backup/{store}", form: head.FormKey, op: acl.Administer, unsealed: true, run: h.backups.withKey},
		{name: "task-token", method: http.MethodPost, path: "/task-token/{store}", op: acl.MintTaskToken, unsealed: true, body: document(smallBody),
			malformed: textBadTask, subject: readTaskRequest, run: h.tasks.mint},
		{name: "revoke", method: http.MethodPut, path: "/revoke", op: acl.ViewStore, run: noLeases},
		{name: "revoke", method: http.MethodPut, path: "/revoke/", op: acl.ViewStore, run: noLeases},
		{name: "renew", method: http.MethodPut, path: "/renew", op: acl.ViewStore, run: noLeases},
		{name: "renew", method: http.MethodPut, path: "/renew/", op: acl.ViewStore, run: noLeases},

		{name: "security-mode", method: http.MethodGet, path: "/dcos-metadata/bootstrap-config.json", root: true, op: acl.ViewMode,
			run: show(h.store, h.stores.ShowMode)},

		{name: "ping", method: http.MethodGet, path: "/ping", open: true, run: h.health.ping},
		{name: "ping", method: http.MethodGet, path: "/ping/backends/{store}", open: true, run: h.health.ping},
		{name: "openapi", method: http.MethodGet, path: "/openapi.json", open: true, run: h.health.describe},
		{name: "live", method: http.MethodGet, path: "/live", root: true, open: true, plain: true, run: h.health.live},
		{name: "ready", method: http.MethodGet, path: "/ready", root: true, open: true, plain: true, run: h.health.ready},
		{name: "metrics", method: http.MethodGet, path: "/metrics", root: true, open: true, run: h.health.metrics},
		{name: "root", method: http.MethodGet, path: "/", root: true, open: true, run: h.https.root},
	}, identityEndpoints(h.acs, h.change)...)
}
