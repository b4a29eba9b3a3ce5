package web

import (
	"net/http"
	"time"

	"secretstore/api/wire"
)

// keysPage is the data of the page about holders and data keys.
type keysPage struct {
	Keys     wire.Keys
	Rotation wire.Rotation // of a store that is unsealed
	Problem  string        // of the form that was sent
	Now      time.Time
}

// sealWord is what people type to seal the store.
const sealWord = "seal"

func showKeys(v *visit) error { return v.showKeys(http.StatusOK, "") }

func (v *visit) showKeys(status int, problem string) (err error) {
	p := keysPage{Problem: problem, Now: v.s.now()}
	if p.Keys, err = v.api.Keys(v.ctx()); err != nil {
		return err
	}
	if !p.Keys.Sealed {
		if p.Rotation, err = v.api.RotationStatus(v.ctx()); err != nil {
			return err
		}
	}
	return v.showAs(status, v.page.title, "keys", p)
}

// changeKeys seals the store, or begins to rotate its data key.
func changeKeys(v *visit) error {
	switch v.form.text("do") {
	case "rotate":
		if _, err := v.api.Rotate(v.ctx()); err != nil {
			return err
		}
		return v.redirect("rotating", "keys")
	case "seal":
		if v.form.text("confirm") != sealWord {
			return v.showKeys(http.StatusBadRequest, "Type "+sealWord+" to confirm. Nothing was done.")
		}
		if _, err := v.api.Seal(v.ctx()); err != nil {
			return err
		}
		return v.redirect("sealed", "unseal")
	}
	return errNoSuchForm
}
