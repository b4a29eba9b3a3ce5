// Package acl decides who may do what. It has the types of secret paths,
// service ids, resources, actions and policies, and one function that decides,
// [Policy.Decide].
//
// It is pure: no I/O, no clock, no logging, no secret values. So every rule can
// be tested as a table, and no decision depends on whether a secret exists.
// Every type is parsed once, at the edge, into a value that cannot be wrong,
// and every zero value refuses. It is one package because all of its types are parts
// of that one decision.
package acl
