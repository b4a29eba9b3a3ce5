package iam

import "fmt"

// Code classifies an [Error], in the words of DC/OS.
type Code string

// The codes of DC/OS, as clients know them.
const (
	ACLExists          Code = "ERR_ACL_EXISTS"
	ActionNotStored    Code = "ERR_ACTION_NOT_YET_STORED"
	GroupExists        Code = "ERR_GROUP_EXISTS"
	GroupNotInACL      Code = "ERR_GROUP_NOT_IN_ACL"
	InvalidAction      Code = "ERR_INVALID_ACTION"
	InvalidData        Code = "ERR_INVALID_DATA"
	InvalidGroupID     Code = "ERR_INVALID_GROUP_ID"
	InvalidProvider    Code = "ERR_OIDC_PROVIDER_CONFIG_INVALID"
	InvalidPublicKey   Code = "ERR_INVALID_PUBLIC_KEY"
	InvalidResourceID  Code = "ERR_INVALID_RESOURCE_ID"
	InvalidUserID      Code = "ERR_INVALID_USER_ID"
	IsSuperuserACL     Code = "ERR_IS_SUPERUSER_ACL"
	IsSuperuserGroup   Code = "ERR_IS_SUPERUSER_GROUP"
	NoMoreSuperusers   Code = "ERR_NO_MORE_SUPERUSERS"
	PermissionExists   Code = "ERR_PERMISSION_EXISTS"
	ProviderExists     Code = "ERR_OIDC_PROVIDER_EXISTS"
	UnknownGroupID     Code = "ERR_UNKNOWN_GROUP_ID"
	UnknownResourceID  Code = "ERR_UNKNOWN_RESOURCE_ID"
	UnknownUserID      Code = "ERR_UNKNOWN_USER_ID"
	UserAlreadyInGroup Code = "ERR_USER_ALREADY_IN_GROUP"
	UserExists         Code = "ERR_USER_EXISTS"
	UserNotInACL       Code = "ERR_USER_NOT_IN_ACL"
	UserNotInGroup     Code = "ERR_USER_NOT_IN_GROUP"
)

// Error refuses a request. Clients see its text.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return e.Text }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func unknownUser(uid UID) *Error { return refuse(UnknownUserID, "User with uid `%s` not known.", uid) }

func unknownGroup(gid GID) *Error {
	return refuse(UnknownGroupID, "Group with gid `%s` not known.", gid)
}

func unknownResource(rid RID) *Error {
	return refuse(UnknownResourceID, "Protected resource with rid `%s` not known.", rid)
}
