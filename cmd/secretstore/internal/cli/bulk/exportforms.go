package bulk

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"time"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/cmd/secretstore/internal/offline"
)

func itemOf(path string, s client.Secret) forms.Item {
	i := forms.Item{Path: path, Value: s.Value, Binary: s.Binary}
	if s.Description != "" {
		i.Description = &s.Description
	}
	if len(s.Labels) > 0 {
		i.Labels = &s.Labels
	}
	return i
}

func (ex *exporting) toJSON(ctx context.Context, p *base.Process, paths []string, w io.Writer) error {
	doc := forms.NewJSONWriter(w)
	err := ex.each(ctx, p, paths, func(path string, s client.Secret) error { return doc.Put(itemOf(path, s)) })
	if err != nil {
		return err
	}
	return doc.Close()
}

func (ex *exporting) toDotenv(ctx context.Context, p *base.Process, paths []string, w io.Writer) error {
	return ex.each(ctx, p, paths, func(full string, s client.Secret) error {
		line, err := forms.AppendDotenv(nil, path.Base(full), itemOf(full, s))
		if err != nil {
			ex.failed = append(ex.failed, failed{full, err.Error()})
			return nil
		}
		defer clear(line)
		_, err = w.Write(line)
		return err
	})
}

func (ex *exporting) toTar(ctx context.Context, p *base.Process, paths []string, w io.Writer) error {
	archive := tar.NewWriter(w)
	if err := ex.toTree(ctx, p, paths, offline.Tar{Writer: archive}); err != nil {
		return err
	}
	return archive.Close()
}

func (ex *exporting) toDir(ctx context.Context, p *base.Process, paths []string) error {
	dir, err := offline.OpenDir(ex.flags.out)
	if err != nil {
		return base.Usagef("%v", err)
	}
	defer dir.Close()
	if err := ex.toTree(ctx, p, paths, dir); err != nil {
		return err
	}
	return ex.finish(p)
}

// toTree writes a file for each secret, and the index, as recover does.
func (ex *exporting) toTree(ctx context.Context, p *base.Process, paths []string, sink offline.Sink) error {
	folders := offline.FoldersOf(paths)
	index := offline.Index{Secrets: []offline.Entry{}, File: offline.IndexFor(paths), Incomplete: ex.incomplete}
	store, err := ex.c.Status(ctx)
	if err != nil {
		return err
	}
	index.Store = store.UUID
	err = ex.each(ctx, p, paths, func(path string, s client.Secret) error {
		e := offline.Entry{Path: path, File: offline.FileName(path, folders), Kind: "text", Size: len(s.Value),
			Description: s.Description, Labels: s.Labels, Author: s.Author}
		if s.Binary {
			e.Kind = "binary"
		}
		if !s.Created.IsZero() {
			e.Created = s.Created.Format(time.RFC3339)
		}
		index.Secrets = append(index.Secrets, e)
		return sink.Put(e.File, s.Value)
	})
	if err != nil {
		return err
	}
	for _, f := range ex.failed {
		index.Secrets = append(index.Secrets, offline.Entry{Path: f.Path, Error: f.Error})
	}
	index.Failed = len(ex.failed)
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the index: %w", err)
	}
	return sink.Put(index.File, append(data, '\n'))
}
