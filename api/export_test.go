package api

// Waiting is how many requests wait for a change.
func (s *Server) Waiting() int { return s.waits.count() }
