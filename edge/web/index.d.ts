/** What is wrong with a bundle, an input or the runtime, in one line. */
export class EdgeError extends Error {}

export interface LoadOptions {
  /** URL of onnxruntime-web's ort.wasm.bundle.min.mjs, beside which its .wasm lies; default: the installed package. */
  runtime?: string;
}

export interface Manifest {
  name: string;
  task: "enhance" | "separate";
  sources: string[];
  /** Hz, of the model's audio. */
  sample_rate: number;
  channels: number;
  /** Samples at the model's rate. */
  hop: number;
  latency_samples: number;
  precision: string;
  [key: string]: unknown;
}

export interface RecordingOptions {
  /** Hz, of the recording; default: the model's. */
  sampleRate?: number;
  /** Called with the fraction that is done, 0 to 1. */
  onprogress?: (fraction: number) => void;
  signal?: AbortSignal;
}

/** "full" keeps what lies above the model's band, under the gain that the model gave below it; "model" does not. */
export type Band = "full" | "model";

/** A mono stream: what process and flush give, concatenated, is as long as the input and aligned with it. */
export class Enhancer {
  readonly manifest: Manifest;
  readonly sampleRate: number;
  /** No sample comes later than this many after its own went in. */
  readonly latencySamples: number;
  /** Any number of samples, full scale 1, to those that are ready. */
  process(samples: Float32Array): Promise<Float32Array>;
  /** The rest; the next samples begin a new recording. */
  flush(): Promise<Float32Array>;
  /** Forget all input. */
  reset(): Promise<void>;
  /** Nothing is made quieter by more than `limit` dB; null: no bound. */
  setAttenuation(limit: number | null): Promise<void>;
  /** Another stream on the same model. */
  fork(options?: { sampleRate?: number; band?: Band }): Promise<Enhancer>;
  /** A whole recording, one Float32Array for each channel; `limit` as in setAttenuation. */
  enhance(
    channels: Float32Array[],
    options?: RecordingOptions & { limit?: number | null; band?: Band },
  ): Promise<Float32Array[]>;
  /** Serve a MessagePort from the worker: {samples} in, {enhanced} out. */
  attach(port: MessagePort): Promise<void>;
  close(): void;
}

export class Separator {
  readonly manifest: Manifest;
  readonly sources: string[];
  /** A whole recording, one Float32Array for each channel, to the same of each source. */
  separate(channels: Float32Array[], options?: RecordingOptions): Promise<Record<string, Float32Array[]>>;
  close(): void;
}

/** Load an enhancer's bundle: the URL of its folder or of NAME.edge (in Node also a path). */
export function createEnhancer(
  bundle: string | URL,
  options?: LoadOptions & { sampleRate?: number; band?: Band },
): Promise<Enhancer>;
/** Load a separator's bundle. */
export function createSeparator(bundle: string | URL, options?: LoadOptions): Promise<Separator>;

export interface TrackOptions {
  /** Default: "full". */
  band?: Band;
  /** Default: one of the device's rate, of the model's with band "model", which closes with the track. */
  context?: AudioContext;
  /** dB, as in setAttenuation. */
  limit?: number | null;
  /** Some 20 times a second: RMS before and after, samples heard as they came, latency in seconds. */
  onlevels?: (report: { levels: [number, number]; late: number; latency: number }) => void;
  /** The track has ended, or the model failed. */
  onend?: (reason: string) => void;
}

/** A MediaStreamTrack in, the enhanced one out. */
export class EnhancedTrack {
  static create(enhancer: Enhancer, track: MediaStreamTrack, options?: TrackOptions): Promise<EnhancedTrack>;
  readonly source: MediaStreamTrack;
  readonly track: MediaStreamTrack;
  readonly late: number;
  readonly latency: number;
  setAttenuation(limit: number | null): void;
  /** false: the original is heard, as late as the enhanced signal. */
  setEnabled(enabled: boolean): void;
  /** Ends `track`; the source goes on. */
  stop(): void;
}

export interface AudioProcessorOptions {
  track: MediaStreamTrack;
  audioContext?: AudioContext;
  [key: string]: unknown;
}

/** The shape of livekit-client's TrackProcessor for audio. */
export interface EnhancingTrackProcessor {
  name: string;
  processedTrack?: MediaStreamTrack;
  init(options: AudioProcessorOptions): Promise<void>;
  restart(options: AudioProcessorOptions): Promise<void>;
  destroy(): Promise<void>;
  setAttenuation(limit: number | null): void;
  setEnabled(enabled: boolean): void;
}

export function createTrackProcessor(enhancer: Enhancer, options?: TrackOptions): EnhancingTrackProcessor;
