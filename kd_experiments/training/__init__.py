"""One loop for teachers, students and mutual learners; what it needs to be fast, exact and resumable."""
