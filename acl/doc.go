// Package acl decides who may do what: secret paths, service ids, resources, actions, policies, and one function, [Policy.Decide].
//
// It is pure: no I/O, no clock, no logging, no secret values. That keeps every rule testable as a table, and keeps a decision
// independent of whether the secret exists. Every type is parsed once at the edge into a value that cannot be wrong, and every zero
// value refuses.
package acl
