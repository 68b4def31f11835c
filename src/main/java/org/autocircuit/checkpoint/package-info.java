/**
 * Models on disk: Hugging Face folders, one class for each family of them, GGUF and safetensors
 * files.
 */
package org.autocircuit.checkpoint;
