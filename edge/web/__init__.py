"""Models in a browser or in Node, without a server: the sources of the npm package, beside what packs them."""
