package api

import (
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"go.uber.org/zap"

	"secretstore/api/internal/admin"
	"secretstore/api/wire"
	"secretstore/seal"
	"secretstore/store/memory"
)

func TestEveryEndpointAsksThePolicyOrIsOpen(t *testing.T) {
	open := []string{"ping", "openapi", "live", "ready", "metrics", "root",
		"iam.sign-in", "iam.sign-in.start", "iam.sign-in.finish", "iam.sign-in.exchange", "iam.sign-out", "iam.jwks", "iam.providers", "iam.openapi.yaml"}
	for _, ep := range endpoints(&handlers{}) {
		if ep.open != slices.Contains(open, ep.name) {
			t.Errorf("%s: open is %v", ep.name, ep.open)
		}
		if ep.audited != slices.Contains([]string{"iam.sign-in", "iam.sign-in.finish", "iam.sign-in.exchange"}, ep.name) {
			t.Errorf("%s: audited is %v", ep.name, ep.audited)
		}
		if !ep.open && ep.op == 0 {
			t.Errorf("%s asks the policy for nothing", ep.name)
		}
	}
}

// TestEveryEndpointThatTakesAShareSaysSo: otherwise net/http would keep the share
// in the buffer of the connection.
func TestEveryEndpointThatTakesAShareSaysSo(t *testing.T) {
	endpointOf := map[string]string{"Unseal": "unseal", "StartRekey": "rekey", "ApproveRekey": "rekey.approve", "VerifyRekey": "rekey.verify"}
	var takers []string
	for _, handler := range []reflect.Type{reflect.TypeFor[*admin.Stores](), reflect.TypeFor[*admin.Keys]()} {
		for method := range handler.Methods() {
			for param := range method.Type.Ins() {
				if hasShare(param) {
					takers = append(takers, method.Name)
				}
			}
		}
	}
	if known := slices.Sorted(maps.Keys(endpointOf)); !slices.Equal(slices.Sorted(slices.Values(takers)), known) {
		t.Errorf("shares are taken by %v; the endpoints are known of %v", takers, known)
	}
	taking := slices.Collect(maps.Values(endpointOf))
	for _, ep := range endpoints(&handlers{}) {
		if want := slices.Contains(taking, ep.name); ep.shares != want {
			t.Errorf("%s: shares is %v", ep.name, ep.shares)
		}
	}
}

// hasShare reports whether a request has a member for a share.
func hasShare(request reflect.Type) bool {
	if request.Kind() != reflect.Struct {
		return false
	}
	share := reflect.TypeFor[wire.Share]()
	for field := range request.Fields() {
		if field.Type == share || field.Type == reflect.SliceOf(share) {
			return true
		}
	}
	return false
}

// TestNoEndpointTakesMoreThanMaxBody, whatever the largest value is: the server gives
// clients the time for a body of that size.
func TestNoEndpointTakesMoreThanMaxBody(t *testing.T) {
	for _, size := range []int64{1, 1 << 20, 64 << 20} {
		st, err := seal.Open(t.Context(), seal.Options{Backend: memory.New(), MaxSecretSize: size, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		limit := (&Server{store: st}).MaxBody()
		for _, ep := range endpoints(&handlers{secrets: &secrets{store: st}}) {
			if ep.body == nil {
				continue
			}
			body, _ := ep.body(&request{Request: httptest.NewRequest(ep.method, "/", nil)}) // an error is about the head
			if body.Bytes > limit {
				t.Errorf("values of %d bytes: %s takes %d bytes, more than %d", size, ep.name, body.Bytes, limit)
			}
		}
	}
}
