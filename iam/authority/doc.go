// Package authority is the running IAM of one server. It keeps the directory up to
// date with the storage and with the file of superusers, writes changes, and signs
// people and services in.
//
// It knows neither HTTP nor the form of the tokens that follow a sign-in.
package authority
