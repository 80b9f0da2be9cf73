"""How a stream ends: `finaliser` for the streams of this process, `takeover` for those of workers that are gone,
`drain` for all of them when the process ends."""
