"""Rules of `StreamGuardMiddleware`: which requests they match, and how the application inside is called for them."""
