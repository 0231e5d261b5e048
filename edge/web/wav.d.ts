/** A WAV file's bytes (16-, 24-, 32-bit integers, 32-bit float). */
export function readWav(bytes: Uint8Array): { channels: Float32Array[]; sampleRate: number };
/** The bytes of a float32 WAV file. */
export function writeWav(channels: Float32Array[], sampleRate: number): Uint8Array;
