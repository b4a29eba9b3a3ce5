// Package acs answers the requests below /acs/api/v1: users, groups, ACLs,
// grants, and sign-in, with the documents, statuses and texts of the IAM of
// DC/OS Enterprise.
//
// Each function turns a [Call] into an answer. Package api authorizes, audits
// and bounds them, as it does all requests. The rules are those of package iam.
//
// Passwords are byte slices that are cleared. They are in no error.
package acs
