/* stem-edge's bundles in C: open one, check it, stream audio through it.
 *
 * Audio is float32, planar: one pointer a channel. A stream gives n samples for every n, `latency` samples after their
 * own; what comes out first is `latency` zeros. Any block size, and any mixture of them, gives the same audio.
 *
 * Every function returns a status, and stemedge_last_error() says in one line what was wrong in this thread's last
 * failure. Null pointers, stale handles and two threads in one stream are errors, never undefined behaviour. Structs
 * carry their size, so that a program built with an older header runs with a newer library.
 */
#ifndef STEMEDGE_H
#define STEMEDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define STEMEDGE_API
#else
#define STEMEDGE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define STEMEDGE_ABI_VERSION 1 /* raised when a program built before would no longer run */

typedef struct stemedge_bundle stemedge_bundle; /* opaque handles: never dereferenced */
typedef struct stemedge_stream stemedge_stream;

typedef enum stemedge_status {
  STEMEDGE_OK = 0,
  STEMEDGE_BAD_ARGUMENT = 1, /* a null pointer, a size or an option out of range */
  STEMEDGE_BAD_BUNDLE = 2,   /* no bundle, malformed, damaged, of a future format */
  STEMEDGE_NO_BACKEND = 3,   /* the bundle or this library lacks the backend */
  STEMEDGE_FAILED = 4,       /* the runtime or the system failed */
  STEMEDGE_CLOSED = 5,       /* the handle is of nothing that is open */
  STEMEDGE_BUSY = 6,         /* another thread is inside */
  STEMEDGE_NO_MEMORY = 7
} stemedge_status;

typedef enum stemedge_task { STEMEDGE_ENHANCE = 0, STEMEDGE_SEPARATE = 1 } stemedge_task;

typedef enum stemedge_backend {
  STEMEDGE_ANY_BACKEND = 0, /* ONNX Runtime where the bundle has its graph, ExecuTorch otherwise */
  STEMEDGE_ONNX = 1,
  STEMEDGE_EXECUTORCH = 2
} stemedge_backend;

typedef struct stemedge_bundle_info {
  uint32_t struct_size; /* set by the caller */
  int32_t task;         /* stemedge_task */
  int32_t sample_rate;  /* Hz, of the model */
  int32_t channels;     /* of the graph: 1 for an enhancer, which takes each channel of a stream on its own */
  int32_t sources;      /* stems that come out; 1 for an enhancer */
  int32_t hop;          /* samples between two runs */
  int32_t segment;      /* samples in a run of a separator; 0 for an enhancer */
  int32_t latency;      /* algorithmic, samples at the model's rate */
  int32_t has_onnx, has_executorch;
} stemedge_bundle_info;

typedef struct stemedge_options {
  uint32_t struct_size;     /* set by stemedge_options_init, as are the defaults */
  int32_t backend;          /* stemedge_backend */
  int32_t threads;          /* of the runtime; default 1 */
  int32_t sample_rate;      /* Hz, in and out; default 0: the model's */
  int32_t channels;         /* in; default 0: the model's. A separator repeats mono and takes the first ones of many */
  double latency;           /* seconds, separators only; default 0: the model's segment */
  double attenuation_limit; /* dB, enhancers only: at most so much is taken away; default infinite, 0 changes nothing */
  int32_t consistent;       /* separators: the stems' sum is the mix */
  int32_t worker;           /* 1: the model runs in a thread of its own, a hop and a block later; process never waits */
  int32_t block;            /* with worker: samples of the longest block; default 0: a hop. Longer ones may be late */
  double mean, deviation;   /* separators: of the whole recording's mono mix, at the model's rate, for the apply loop
                               of demucs; default NaN: running ones */
  int32_t low_delay;        /* 1: rates are converted by short filters, 70 dB, in place of libsoxr: see the latencies */
} stemedge_options;

typedef struct stemedge_stream_info {
  uint32_t struct_size; /* set by the caller */
  int32_t sample_rate;  /* Hz */
  int32_t inputs;       /* planes that process reads */
  int32_t outputs;      /* planes that it writes: channels, or source by source its channels */
  int32_t latency;      /* samples at sample_rate, constant */
  int32_t backend;
} stemedge_stream_info;

typedef struct stemedge_counters {
  uint32_t struct_size;              /* set by the caller */
  uint64_t frames;                   /* samples taken since the stream was opened, a channel */
  uint64_t hops, inferences;         /* of all channels: hops taken, and how many of them were run (silence is not) */
  uint64_t bad_inputs;               /* NaN, infinite or absurd samples, taken for zero */
  uint64_t bad_outputs;              /* hops for which the model gave such, made silent */
  uint64_t late_blocks, late_frames; /* worker: where the input came out in place of results that were not ready */
} stemedge_counters;

STEMEDGE_API uint32_t stemedge_abi_version(void);
STEMEDGE_API const char* stemedge_version(void);
/* Of ExecuTorch's runtime in this library, as its package has it; empty where it is built without. */
STEMEDGE_API const char* stemedge_executorch_version(void);
STEMEDGE_API const char* stemedge_status_text(stemedge_status status);
/* One line on this thread's last failure, valid until its next call; empty where there was none. */
STEMEDGE_API const char* stemedge_last_error(void);
/* The file of ONNX Runtime's library, before it is first used; otherwise $STEMEDGE_ONNXRUNTIME or the system's. */
STEMEDGE_API stemedge_status stemedge_use_onnxruntime(const char* library);

/* A bundle folder or .edge file (UTF-8); all of its files are checked. */
STEMEDGE_API stemedge_status stemedge_bundle_open(const char* path, stemedge_bundle** bundle);
STEMEDGE_API stemedge_status stemedge_bundle_get_info(stemedge_bundle* bundle, stemedge_bundle_info* info);
/* Text, null-terminated, of at most `size` bytes: `needed` (may be null) is what all of it takes. */
STEMEDGE_API stemedge_status stemedge_bundle_get_name(stemedge_bundle* bundle, char* text, size_t size, size_t* needed);
STEMEDGE_API stemedge_status stemedge_bundle_get_source(stemedge_bundle* bundle, int32_t index, char* text, size_t size,
                                                        size_t* needed);
STEMEDGE_API stemedge_status stemedge_bundle_get_manifest(stemedge_bundle* bundle, char* text, size_t size,
                                                          size_t* needed);
/* Unknown keys and minor versions, which are no errors; empty where all is known. */
STEMEDGE_API stemedge_status stemedge_bundle_get_warning(stemedge_bundle* bundle, char* text, size_t size,
                                                         size_t* needed);
/* Runs the golden input: STEMEDGE_FAILED where the output differs more than the bundle allows; snr_db may be null. */
STEMEDGE_API stemedge_status stemedge_bundle_check(stemedge_bundle* bundle, int32_t backend, int32_t threads,
                                                   double* snr_db);
/* Streams of the bundle go on. */
STEMEDGE_API stemedge_status stemedge_bundle_close(stemedge_bundle* bundle);

/* `size`: sizeof(stemedge_options) as the program knows it. */
STEMEDGE_API stemedge_status stemedge_options_init(stemedge_options* options, uint32_t size);
/* options: null for the defaults. Streams of one bundle share its loaded graph. */
STEMEDGE_API stemedge_status stemedge_stream_open(stemedge_bundle* bundle, const stemedge_options* options,
                                                  stemedge_stream** stream);
STEMEDGE_API stemedge_status stemedge_stream_get_info(stemedge_stream* stream, stemedge_stream_info* info);
STEMEDGE_API stemedge_status stemedge_stream_get_counters(stemedge_stream* stream, stemedge_counters* counters);
/* n samples of each plane in, n out; out[i] may be in[i]. On failure the output is silent. Needs no lock, no I/O and,
   with `worker`, no memory; without, the runtime may take some (see docs/native.md). n is at most 1 << 24. */
STEMEDGE_API stemedge_status stemedge_stream_process(stemedge_stream* stream, const float* const* in, float* const* out,
                                                     size_t n);
/* The last `latency` samples; the stream is reset afterwards. */
STEMEDGE_API stemedge_status stemedge_stream_flush(stemedge_stream* stream, float* const* out);
/* Forget all input; counters go on. */
STEMEDGE_API stemedge_status stemedge_stream_reset(stemedge_stream* stream);
/* dB, 0 to infinity; reached within 20 ms. */
STEMEDGE_API stemedge_status stemedge_stream_set_attenuation_limit(stemedge_stream* stream, double db);
/* 1: process waits for the worker, for rendering faster than real time. */
STEMEDGE_API stemedge_status stemedge_stream_set_offline(stemedge_stream* stream, int32_t offline);
STEMEDGE_API stemedge_status stemedge_stream_close(stemedge_stream* stream);

#ifdef __cplusplus
}
#endif
#endif
