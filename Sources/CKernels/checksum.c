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

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t state = (uint32_t)~crc;
    for (; n >= 8; n -= 8, p += 8) state = _mm_crc32_u64(state, word_at(p));
    for (; n > 0; n--, p++) state = _mm_crc32_u8((uint32_t)state, *p);
    return ~(uint32_t)state;
}

uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n) {
    return __builtin_cpu_supports("sse4.2") ? crc32c_instruction(crc, bytes, n) : ck_crc32c_portable(crc, bytes, n);
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    uint32_t state = ~crc;
    for (; n >= 8; n -= 8, p += 8) state = __crc32cd(state, word_at(p));
    for (; n > 0; n--, p++) state = __crc32cb(state, *p);
    return ~state;
}
#else
uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n) { return ck_crc32c_portable(crc, bytes, n); }
#endif
