package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/definition"
)

// maxNamed is how many missing grants an error names.
const maxNamed = 5

// naming adds the grants that are missing to the error of a request for the secrets
// of services. The server names none if the user has no grant that could matter: then
// it does not read the request.
func naming(err error, services ...string) error {
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || !errors.Is(err, client.ErrDenied) || refused.Description != acl.ReasonNoPermission {
		return err
	}
	var resources []string
	for _, id := range services {
		if service, err := acl.ParseService(id); err == nil {
			resources = append(resources, acl.ResolveResource(service).String())
		}
	}
	slices.Sort(resources)
	resources = slices.Compact(resources)
	if len(resources) == 0 {
		return err
	}
	more := ""
	if n := len(resources) - maxNamed; n > 0 {
		resources, more = resources[:maxNamed], fmt.Sprintf(", and on %d more", n)
	}
	return fmt.Errorf("%w: ask an administrator for %s on %s%s", err, acl.Read, strings.Join(resources, ", "), more)
}

// servicesIn returns the services of definitions, as far as they can be read.
func servicesIn(definitions []byte) (services []string) {
	all, _, err := definition.Parse(definitions)
	if err != nil {
		return nil
	}
	for _, d := range all {
		services = append(services, d.Service.String())
	}
	return services
}
