"""What frames show by arithmetic alone: surveys of films, motion, sharpness, stillness."""
