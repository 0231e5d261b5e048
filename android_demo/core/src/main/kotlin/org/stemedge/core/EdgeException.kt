package org.stemedge.core

/** A failure whose [message] is one sentence for the user: what is wrong, and what to do about it. */
class EdgeException(message: String, cause: Throwable? = null) : Exception(message, cause) {
    override val message: String get() = super.message!!
}
