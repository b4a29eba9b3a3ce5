// Package api is the HTTP edge of the Secret Store: it reads a request, finds
// out who asks, has package acl decide, has package seal do it, and answers.
// It holds no rule about permissions and no cryptography, and of package store
// it knows only the errors and how fresh a read shall be.
//
// The checks of a request stand in one order, in (*Server).answer, and nothing
// is done before its turn: size and syntax of the head (400), authentication
// (401), route and path (404), permission (403), sealed (503), then the body.
// Where the body says what is asked for, the permission for that is decided
// next, in (*Server).startErrand, before any secret is looked at.
// An answer is a value until it is complete; it leaves after the line of the
// decision is in the audit log, or it becomes a 503.
//
// A value, token or key is in no error, log event, audit line or metric.
package api
