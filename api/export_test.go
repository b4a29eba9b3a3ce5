package api

// Waiting is how many requests wait for a change.
func (s *Server) Waiting() int { return s.waits.count() }

// TakeAnswers leaves nothing of the budget of answers to others.
func (s *Server) TakeAnswers() (release func(), taken bool) {
	return func() { s.bodies.answers.Release(bodyBudget) }, s.bodies.answers.TryAcquire(bodyBudget)
}
