package web

import (
	"bytes"
	"errors"
	"net/http"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// unsealPage is the data of the page where holders enter their shares.
type unsealPage struct {
	Status  wire.SealStatus
	Shares  []wrappedShare
	Problem string
}

// wrappedShare is a share as its holder can decrypt it.
type wrappedShare struct{ Fingerprint, Hex string }

func showUnseal(v *visit) error { return v.showUnseal(http.StatusOK, "") }

func (v *visit) showUnseal(status int, trouble string) (err error) {
	p := unsealPage{Problem: trouble}
	if p.Status, err = v.api.SealStatus(v.ctx()); err != nil {
		return err
	}
	if p.Status.Sealed {
		info, err := v.api.InitInfo(v.ctx())
		if err != nil {
			return err
		}
		for i, key := range info.Keys {
			s := wrappedShare{Hex: key}
			if i < len(info.Fingerprints) {
				s.Fingerprint = info.Fingerprints[i]
			}
			p.Shares = append(p.Shares, s)
		}
	}
	return v.showAs(status, v.page.title, "unseal", p)
}

// unseal enters a share, forgets those that were entered, or has the server unseal
// itself.
func unseal(v *visit) error {
	var status wire.SealStatus
	var err error
	switch v.form.text("do") {
	case "share":
		share := bytes.TrimSpace(v.form.secret("share"))
		if len(share) == 0 {
			return v.showUnseal(http.StatusBadRequest, "Paste what gpg has printed.")
		}
		status, err = v.api.UnsealWith(v.ctx(), share)
	case "reset":
		if _, err := v.api.ResetUnseal(v.ctx()); err != nil {
			return err
		}
		return v.redirect("shares-forgotten", "unseal")
	case "auto":
		status, err = v.api.AutoUnseal(v.ctx(), "")
	default:
		return errNoSuchForm
	}
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Status/100 == 4 && !errors.Is(err, client.ErrUnauthorized):
		return v.showUnseal(refused.Status, sentence(refused.Description))
	case err != nil:
		return err
	case status.Sealed:
		return v.redirect("share-entered", "unseal")
	}
	return v.redirect("unsealed", "")
}
