// Tiles: which connections are in one, their weights in, and products on the ordinary units.
#include "tiles.cuh"

__device__ inline void mark(int* place, unsigned long long* mask, int tile, int cell, int slot) {
    place[tile * (long long)CELLS + cell] = slot;
    unsigned long long bit = 1ull << (cell % 64), *word = mask + tile * (long long)WORDS + cell / 64;
    if (slot >= 0)
        atomicOr(word, bit);
    else
        atomicAnd(word, ~bit);
}

// How many connections join each two groups: counts[group of target * groups + group of source] grows. One warp a
// target.
__global__ void count_pairs(const int* targets, int count, const long long* start, const int* length, const int* other,
                            const int* group, int groups, int* counts) {
    int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (warp >= count) return;
    int target = targets[warp];
    int* own = counts + group[target] * (long long)groups;
    long long first = start[target];
    for (int k = lane; k < length[target]; k += 32) atomicAdd(own + group[other[first + k]], 1);
}

// Enter the connections of some targets into their tiles, one warp a target.
__global__ void place_tiles(const int* targets, int count, const long long* start, const int* length, const int* other,
                            const int* slot, const int* seat, const long long* begin, const int* far, const int* tile,
                            int* place, unsigned long long* mask) {
    int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (warp >= count) return;
    int target = targets[warp], own = seat[target];
    if (own < 0) return;
    long long first = start[target];
    for (int k = lane; k < length[target]; k += 32) {
        int from = seat[other[first + k]];
        if (from < 0) continue;
        int number = find_tile(begin, far, tile, own / SIDE, from / SIDE);
        if (number >= 0) mark(place, mask, number, own % SIDE * SIDE + from % SIDE, slot[first + k]);
    }
}

// Take in edits: each pair of a source and a target is looked up among the connections as they are now. One warp a
// pair.
__global__ void patch_tiles(const int* sources, const int* targets, int count, const long long* start,
                            const int* length, const int* other, const int* slot, const int* seat,
                            const long long* begin, const int* far, const int* tile, int* place,
                            unsigned long long* mask) {
    int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (warp >= count) return;
    int source = sources[warp], target = targets[warp], own = seat[target], from = seat[source];
    if (own < 0 || from < 0) return;
    int number = find_tile(begin, far, tile, own / SIDE, from / SIDE);
    if (number < 0) return;
    long long first = start[target];
    int found = -1;
    for (int k = lane; k < length[target]; k += 32)
        if (other[first + k] == source) found = slot[first + k];
    for (int step = 16; step; step /= 2) found = max(found, __shfl_xor_sync(0xffffffffu, found, step));
    if (lane == 0) mark(place, mask, number, own % SIDE * SIDE + from % SIDE, found);
}

// The entries of some rows that are neither in a tile nor in a dense block, in their order; one warp a row. The rest
// begins where the row does. `begin`, `far` and `tile` list the tiles by the group of the row's neuron; a block joins
// two clusters if `block[own_cluster[row] * own_step + far_cluster[other] * far_step]` is set.
__global__ void find_rest(const int* rows, int count, const long long* start, const int* length, const int* other,
                          const int* slot, const int* seat, const long long* begin, const int* far, const int* tile,
                          const int* own_cluster, const int* far_cluster, const signed char* block, int own_step,
                          int far_step, int* rest_length, int* rest_other, int* rest_slot) {
    int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (warp >= count) return;
    int row = rows[warp], own = seat[row], cluster = own_cluster[row], kept = 0;
    long long first = start[row];
    for (int base = 0; base < length[row]; base += 32) {
        bool keep = base + lane < length[row];
        int end = keep ? other[first + base + lane] : 0, number = keep ? slot[first + base + lane] : 0;
        if (keep && own >= 0 && seat[end] >= 0) keep = find_tile(begin, far, tile, own / SIDE, seat[end] / SIDE) < 0;
        if (keep && cluster >= 0 && far_cluster[end] >= 0)
            keep = !block[cluster * (long long)own_step + far_cluster[end] * (long long)far_step];
        unsigned kept_by = __ballot_sync(0xffffffffu, keep);
        if (keep) {
            long long at = first + kept + __popc(kept_by & ((1u << lane) - 1));
            rest_other[at] = end;
            rest_slot[at] = number;
        }
        kept += __popc(kept_by);
    }
    if (lane == 0) rest_length[row] = kept;
}

// The weights of tiles, zeros where nothing is connected: target after target, or source after source (`turned`). One
// warp a tile.
template <typename T>
__global__ void gather_tiles(int count, const int* place, const unsigned long long* mask, const T* weight, bool turned,
                             T* out) {
    int tile = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (tile >= count) return;
    for (int at = lane; at < CELLS; at += 32) {
        int cell = turned ? at % SIDE * SIDE + at / SIDE : at;
        T value = is_set(mask, tile, cell) ? weight[place[tile * (long long)CELLS + cell]] : T(0);
        out[tile * (long long)CELLS + at] = value;
    }
}

__device__ inline void load16(const float* at, float* out) {
    float4 four = *reinterpret_cast<const float4*>(at);
    out[0] = four.x, out[1] = four.y, out[2] = four.z, out[3] = four.w;
}
__device__ inline void load16(const double* at, double* out) {
    double2 two = *reinterpret_cast<const double2*>(at);
    out[0] = two.x, out[1] = two.y;
}

// out[row of own member, sample] = (or +=, where a group has `begun`) the sum over tiles of weight * in[row of far
// member, sample]. A warp has the 16 members of one group and 32 x V samples, as many as fit 16 bytes a lane, or 32.
// The weights of a tile go far member after far member.
template <typename T, bool WIDE>
__global__ void __launch_bounds__(128)
    multiply_plain(int lo, int hi, const long long* begin, const int* far, const int* tile,
                               const int* members, const signed char* begun, const T* weights, const T* in, T* out,
                               int ld) {
    constexpr int V = WIDE ? 16 / sizeof(T) : 1;
    int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    int group = lo + warp;
    if (group >= hi || begin[group] == begin[group + 1]) return;
    int column = (blockIdx.y * 32 + lane) * V;
    if (column >= ld) return;
    T sum[SIDE][V];
#pragma unroll
    for (int m = 0; m < SIDE; m++)
#pragma unroll
        for (int v = 0; v < V; v++) sum[m][v] = 0;
    for (long long e = begin[group]; e < begin[group + 1]; e++) {
        const T* w = weights + tile[e] * (long long)CELLS;
        const int* from = members + far[e] * SIDE;
        for (int k = 0; k < SIDE; k++) {
            int row = from[k];
            if (row < 0) break;  // members come first
            T x[V], of_k[SIDE];
            const T* at = in + row * (long long)ld + column;
            if constexpr (WIDE)
                load16(at, x);
            else
                x[0] = *at;
#pragma unroll
            for (int m = 0; m < SIDE; m += 16 / sizeof(T)) load16(w + k * SIDE + m, of_k + m);
#pragma unroll
            for (int m = 0; m < SIDE; m++)
#pragma unroll
                for (int v = 0; v < V; v++) sum[m][v] += of_k[m] * x[v];
        }
    }
    bool add = begun[group];
#pragma unroll
    for (int m = 0; m < SIDE; m++) {
        int row = members[group * SIDE + m];
        if (row < 0) continue;
        T* at = out + row * (long long)ld + column;
#pragma unroll
        for (int v = 0; v < V; v++) at[v] = add ? at[v] + sum[m][v] : sum[m][v];
    }
}

// grad[slot] = (or +=) the sum over samples of delta[target, sample] * acts[source, sample], for those cells of a tile
// that are connected; one warp a tile. Lanes 0 .. 15 take the even samples of each 32, 16 .. 31 the odd ones, and a
// lane has 4 x 4 cells.
template <typename T>
__global__ void gradient_plain(int count, const int* tile_target, const int* tile_source, const int* members,
                               const int* place, const unsigned long long* mask, const T* acts, const T* delta, int ld,
                               bool add, T* grad) {
    constexpr int WARPS = 4, WIDTH = SIDE + 4;
    __align__(16) __shared__ T left[WARPS][32 * WIDTH], right[WARPS][32 * WIDTH];
    int number = threadIdx.x / 32, lane = threadIdx.x % 32, tile = blockIdx.x * WARPS + number;
    if (tile >= count) return;  // whole warps, and none of them waits for another
    const int* targets = members + tile_target[tile] * SIDE;
    const int* sources = members + tile_source[tile] * SIDE;
    T *d = left[number], *x = right[number];
    int half = lane / 16, row = lane % 16 / 4 * 4, column = lane % 4 * 4;
    T sum[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] = 0;
    for (int first = 0; first < ld; first += 32) {
        bool inside = first + lane < ld;
#pragma unroll 4
        for (int m = 0; m < SIDE; m++) {
            int target = targets[m], source = sources[m];
            d[lane * WIDTH + m] = inside && target >= 0 ? delta[target * (long long)ld + first + lane] : T(0);
            x[lane * WIDTH + m] = inside && source >= 0 ? acts[source * (long long)ld + first + lane] : T(0);
        }
        __syncwarp();
        for (int n = half; n < 32; n += 2) {
            T a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; i += 16 / sizeof(T)) {
                load16(d + n * WIDTH + row + i, a + i);
                load16(x + n * WIDTH + column + i, b + i);
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] += a[i] * b[j];
        }
        __syncwarp();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] += __shfl_xor_sync(0xffffffffu, sum[i][j], 16);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int cell = (row + i) * SIDE + column + j;
            if (i / 2 != half || !is_set(mask, tile, cell)) continue;  // each half of the warp writes two rows of four
            int slot = place[tile * (long long)CELLS + cell];
            grad[slot] = add ? grad[slot] + sum[i][j] : sum[i][j];
        }
}
