// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as in iSCSI (RFC 3720): the processor's instruction where it
// has one, slicing by 8 (Kounavis and Berry 2005) elsewhere.
#include "internal.h"
#include <pthread.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the checksum reads words in little-endian order"
#endif

CK_INLINE uint64_t word_at(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

// tables[s][b]: the remainder of byte b followed by s zero bytes.
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t remainder = b;
        for (int bit = 0; bit < 8; bit++) remainder = (remainder >> 1) ^ (0x82F63B78u & (0u - (remainder & 1u)));
        tables[0][b] = remainder;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int s = 1; s < 8; s++) tables[s][b] = (tables[s - 1][b] >> 8) ^ tables[0][tables[s - 1][b] & 0xFFu];
}

uint32_t ck_crc32c_portable(uint32_t crc, const void *bytes, size_t n) {
    pthread_once(&tables_once, fill_tables);
    const uint8_t *p = bytes;
    uint32_t state = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        const uint64_t word = word_at(p) ^ state;
        state = tables[7][word & 0xFF] ^ tables[6][(word >> 8) & 0xFF] ^ tables[5][(word >> 16) & 0xFF]
            ^ tables[4][(word >> 24) & 0xFF] ^ tables[3][(word >> 32) & 0xFF] ^ tables[2][(word >> 40) & 0xFF]
            ^ tables[1][(word >> 48) & 0xFF] ^ tables[0][word >> 56];
    }
    for (; n > 0; n--, p++) state = (state >> 8) ^ tables[0][(state ^ *p) & 0xFFu];
    return ~state;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAS_INSTRUCTION 1
#define INSTRUCTION_TARGET __attribute__((target("sse4.2")))
#define instruction_present() __builtin_cpu_supports("sse4.2")
#define crc_word(state, word) (uint32_t)_mm_crc32_u64(state, word)
#define crc_byte(state, byte) _mm_crc32_u8(state, byte)
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAS_INSTRUCTION 1
#define INSTRUCTION_TARGET
#define instruction_present() 1
#define crc_word(state, word) __crc32cd(state, word)
#define crc_byte(state, byte) __crc32cb(state, byte)
#endif

#ifdef HAS_INSTRUCTION
// The instruction takes one word a cycle but three cycles for its result: three streams run side by side, STREAM bytes
// apart, and are joined by advancing a state over STREAM zero bytes, which is linear in the state's bits.
#define STREAM 4096

// advance[k][b]: byte k of a state, with value b, STREAM zero bytes later.
static uint32_t advance[4][256];
static pthread_once_t advance_once = PTHREAD_ONCE_INIT;

INSTRUCTION_TARGET static void fill_advance(void) {
    for (uint32_t bit = 0; bit < 32; bit++) {
        uint32_t state = 1u << bit;
        for (size_t i = 0; i < STREAM / 8; i++) state = crc_word(state, 0);
        for (uint32_t b = 0; b < 256; b++)
            if (b >> (bit % 8) & 1u) advance[bit / 8][b] ^= state;
    }
}

CK_INLINE uint32_t advanced(uint32_t s) {
    return advance[0][s & 0xFF] ^ advance[1][(s >> 8) & 0xFF] ^ advance[2][(s >> 16) & 0xFF] ^ advance[3][s >> 24];
}

INSTRUCTION_TARGET static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p, size_t n) {
    uint32_t state = ~crc;
    if (n >= 3 * STREAM) pthread_once(&advance_once, fill_advance);
    for (; n >= 3 * STREAM; n -= 3 * STREAM, p += 3 * STREAM) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < STREAM; i += 8) {
            state = crc_word(state, word_at(p + i));
            second = crc_word(second, word_at(p + STREAM + i));
            third = crc_word(third, word_at(p + 2 * STREAM + i));
        }
        state = advanced(advanced(state) ^ second) ^ third;
    }
    for (; n >= 8; n -= 8, p += 8) state = crc_word(state, word_at(p));
    for (; n > 0; n--, p++) state = crc_byte(state, *p);
    return ~state;
}

uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n) {
    return instruction_present() ? crc32c_instruction(crc, bytes, n) : ck_crc32c_portable(crc, bytes, n);
}
#else
uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n) { return ck_crc32c_portable(crc, bytes, n); }
#endif
