// Writes words of 1, 2, 4 or 8 bytes all over the device's memory: what edits changed in many arrays, in one launch.

// The highest byte of an address tells how many bytes of the word count.
__global__ void patch(const unsigned long long* addresses, const unsigned long long* words, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        unsigned long long address = addresses[i] & 0x00ffffffffffffffULL;
        unsigned long long word = words[i];
        switch (addresses[i] >> 56) {
            case 1: *reinterpret_cast<unsigned char*>(address) = static_cast<unsigned char>(word); break;
            case 2: *reinterpret_cast<unsigned short*>(address) = static_cast<unsigned short>(word); break;
            case 4: *reinterpret_cast<unsigned int*>(address) = static_cast<unsigned int>(word); break;
            case 8: *reinterpret_cast<unsigned long long*>(address) = word; break;
        }
    }
}
