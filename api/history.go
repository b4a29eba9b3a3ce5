package api

import (
	"context"
	"net/http"
	"unicode/utf8"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/jsondoc"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const textBadWhole = `a secret with its history is {"versions":[{"version":N,"kind":"text or binary","value_base64":"...","written":"TIME"}],"created":"TIME"}, ` +
	`the newest version first; times are as in RFC 3339, and a text is UTF-8`

// bodyOfWhole is room for the newest value, and for earlier ones and metadata, in
// base64.
func (h *secrets) bodyOfWhole(*request) (body.Limit, error) {
	return body.Limit{Bytes: 2*h.store.MaxSecretSize() + jsonSlack, TooLarge: problem.SecretTooLarge}, nil
}

// createWhole stores a secret of another store, with its history.
func (h *secrets) createWhole(x *exchange) (answer.Reply, error) {
	doc, err := jsondoc.Decode[wire.WholeSecret](x.content, textBadWhole)
	if err != nil {
		return answer.Reply{}, err
	}
	whole := seal.Whole{Description: doc.Description, Labels: doc.Labels, Author: doc.Author, Created: doc.Created, Deleted: doc.Deleted}
	defer whole.Clear()
	size := 0
	for _, v := range doc.Versions {
		one := seal.Value{Version: v.Version, Kind: seal.Binary, Value: v.Value, Written: v.Written}
		whole.Versions = append(whole.Versions, one)
		size += len(v.Value)
	}
	for i, v := range doc.Versions {
		switch {
		case v.Kind == "text" && utf8.Valid(v.Value):
			whole.Versions[i].Kind = seal.Text
		case v.Kind != "binary":
			return answer.Reply{}, problem.BadRequest(textBadWhole)
		}
	}
	var written seal.Written
	err = h.change.do(x, size, func(ctx context.Context) (err error) {
		written, err = h.store.CreateWhole(ctx, x.req.path, whole)
		return err
	})
	if err != nil {
		return answer.Reply{}, err
	}
	return answer.Written(http.StatusCreated, written)
}
