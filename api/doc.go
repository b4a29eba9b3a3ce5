// Package api is the HTTP edge of the Secret Store: it reads a request, finds
// out who asks, has package acl decide, has package seal act, and answers. It
// holds no rule about permissions and no cryptography. Of package store it
// knows only the errors and how fresh a read must be.
//
// # A request
//
// The checks of a request have one order, in (*Server).answer: size and syntax
// of the head (400), token (401), route and path (404), permission (403), seal
// (503), body, and then token and permission again, for a body may take
// minutes. Nothing happens before its turn. In particular a caller without
// permission gets the same answer in the same time whether or not a secret
// exists.
//
// An exchange is a request being answered, in three parts: the request, the
// caller, and the outcome. An answer is a value until it is complete. It leaves
// after the audit line of the decision is written, or becomes a 503.
//
// A value, token or key is in no error, log event, audit line or metric.
//
// # An endpoint
//
// It is a row of the table in routes.go and a function. An endpoint that
// changes the store for an administrator is a function from a request document
// to an answer document, which administer turns into a handler; one that shows
// something goes through show. All changes go through changer.do, which refuses
// them while the audit log cannot be written, and notes their effect. The
// documents are in package wire, and package client has a method for each
// endpoint.
//
// What needs no server is in packages below api/internal. The rest is one package,
// although it is large, because all of it handles an exchange: its parts would only
// pass that around.
package api
