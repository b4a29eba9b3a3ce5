// Package iam holds the people and services of a cluster: users, service
// accounts, groups, and who was granted what. It follows the IAM of DC/OS
// Enterprise.
//
// A [Directory] is what one server knows of them, in memory. Its methods that
// change something only return a [Change], the entries to write; the directory
// itself changes when Apply learns that they were written, by this server or by
// another. So every rule is a pure function of a directory and a request.
//
// The package knows neither HTTP nor secrets nor the storage, and keeps no
// token. Password hashes pass through it, but it never verifies one.
package iam
