// Package oidc signs people in with OpenID Connect providers: by the
// authorization-code flow in a browser, or with an ID token. It keeps the
// providers, speaks HTTP with them as a client, and decides who has signed in.
//
// [Decide] is that decision, a pure function of what a provider vouches for, the
// directory and the settings. Everything that comes from a provider, from a browser
// or from the storage may have been written by an attacker.
//
// The package serves no HTTP, and makes no tokens.
package oidc
