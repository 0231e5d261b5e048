package org.stemedge.demo

import org.stemedge.core.Bundle
import org.stemedge.core.EdgeException
import org.stemedge.core.Engines
import org.stemedge.core.Graph
import org.stemedge.core.checkGolden

/** Load the bundle's graph, and refuse it where this device does not run it as exported. */
fun loadChecked(bundle: Bundle, threads: Int): Graph {
    val engine = Engines.of(bundle)
    val graph = engine.load(bundle, threads)
    try {
        checkGolden(bundle, engine.format, graph)
        return graph
    } catch (error: EdgeException) {
        graph.close()
        throw error
    }
}
