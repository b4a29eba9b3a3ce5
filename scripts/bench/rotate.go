package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// rotateCase measures a rotation under reads and writes: how long it takes, how
// much it slows the clients down, and that nothing is lost. Best run with
// -secrets 100000.
func rotateCase(ctx context.Context, o options, s *server, dir string) error {
	admin, err := signToken(o, dir, "operator")
	if err != nil {
		return err
	}
	before, err := load(ctx, 16, o.duration, mixed(o, s))
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := rotation(ctx, s, admin, http.MethodPut); err != nil {
		return err
	}
	fmt.Printf("%d records; 16 clients, 1 write in 10: %.0f req/s, p99 %v before\n", o.secrets, before.perSecond, before.p99)
	for {
		during, err := load(ctx, 16, o.duration, mixed(o, s))
		if err != nil {
			return err
		}
		state, err := rotation(ctx, s, admin, http.MethodGet)
		if err != nil {
			return err
		}
		fmt.Printf("%6.1f s: %d of %d re-encrypted, %s; clients %.0f req/s, p99 %v\n", time.Since(start).Seconds(),
			state.Done, state.Total, state.State, during.perSecond, during.p99)
		if state.State == "idle" {
			break
		}
	}
	if err := fillWith(ctx, o.secrets, freshOf(o, s)); err != nil {
		return fmt.Errorf("a secret does not read after the rotation: %w", err)
	}
	fmt.Printf("all %d secrets read after it\n", o.secrets)
	return nil
}

// mixed reads, and updates every tenth time.
func mixed(o options, s *server) request {
	body := bodyOf(o)
	return request{token: s.token, next: func(n uint64) (string, []byte) {
		url := s.secret(name(o, n*7919))
		if n%10 == 0 {
			return url, body
		}
		return url, nil
	}}
}

type rotationState struct {
	Total int64  `json:"records_total"`
	Done  int64  `json:"records_done"`
	State string `json:"state"`
}

func rotation(ctx context.Context, s *server, token, method string) (state rotationState, err error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/secrets/v1/rotate/default", nil)
	if err != nil {
		return state, err
	}
	req.Header.Set("Authorization", "token="+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return state, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return state, fmt.Errorf("%s rotate: %s", method, resp.Status)
	}
	return state, json.NewDecoder(resp.Body).Decode(&state)
}
