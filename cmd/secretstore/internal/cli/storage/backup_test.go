package storage

import (
	"strings"
	"testing"

	"secretstore/seal"
)

func TestSummaryOfAHostileBackupIsOneLineOfText(t *testing.T) {
	text := BackupSummary(seal.BackupManifest{Store: "x\n\x1b[2J"})
	if strings.ContainsAny(text, "\n\x1b") {
		t.Errorf("%q", text)
	}
}
