// Package web serves the pages for people at /ui/.
//
// It decides nothing about secrets and keeps none. Each page calls the API of the
// same server, in the process, with the token of the signed-in user: decisions,
// limits and the audit log are those of the API, and there is no second way in.
//
// # A page
//
// It is a row of the table in pages.go, a function that answers a [visit], and a
// template in the folder pages. All pages have one path segment below /ui/ and say
// the rest in their query, so that all links can be relative: the pages also work
// where a proxy strips a prefix.
//
// # Content
//
// Whatever a page shows may have been written by an attacker. Templates escape it.
// Values of secrets are not template data: they are bytes that are written around
// the template, see [visit.slot], and cleared. Nothing is loaded from elsewhere, no
// page has a style or script of its own, and script.js never makes elements of
// text.
//
// # Size
//
// The package is larger than others because it has all pages, a file for each
// subject. They share the checks of a visit: a package of pages would need most of
// that exported.
package web
