package org.autocircuit.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Tests what of {@code tokenizer.json} native code gets to see. */
class TokenizerJsonTest {

  private static final String MODEL = "'model':{'type':'BPE','vocab':{'a':0},'merges':[]}";

  private static Optional<String> check(String json) {
    byte[] bytes = json.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
    return TokenizerJson.vocabulary(Path.of("tokenizer.json"), bytes).unknown();
  }

  @Test
  void acceptsWhatFoldersHave() {
    assertThat(check("{'decoder':null," + MODEL + "}")).isEmpty();
    assertThat(
            check(
                "{'added_tokens':[{'content':'<s>'},{'content':' ','normalized':false}],"
                    + "'normalizer':{'type':'Strip'}}"))
        .isEmpty();
    // GPT-2's model has no type.
    assertThat(check("{'model':{'unk_token':'?','continuing_subword_prefix':'','vocab':{'a':0}}}"))
        .contains("?");
    assertThat(
            check(
                "{'model':{'type':'WordPiece','continuing_subword_prefix':'##','vocab':{}},"
                    + "'decoder':{'type':'Sequence','decoders':[{'type':'Fuse'},{'type':'Strip',"
                    + "'content':' ','start':1,'stop':0}]}}"))
        .isEmpty();
  }

  /** Without the check, native code ends the process over most of these. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "'normalizer':{'type':'Precompiled','precompiled_charsmap':'AA'} | normalizer is"
            + " \"Precompiled\"",
        "'normalizer':{'precompiled_charsmap':'AA'} | normalizer is nothing",
        "'normalizer':{'type':'Sequence','normalizers':[{'type':'NFC'},{'type':'x'}]} | is \"x\"",
        "'pre_tokenizer':{'type':'FixedLength','length':0} | pre_tokenizer is \"FixedLength\"",
        "'pre_tokenizer':{'type':'Fuse'} | pre_tokenizer is \"Fuse\"",
        "'decoder':{'type':'Strip','content':'a','start':0,'stop':1} | expected 0 for stop",
        "'decoder':{'type':'Strip','content':'a','start':0,'stop':4294967296} | expected 0 for"
            + " stop",
        "'decoder':{'type':'Fuse','x':1e400} | a number is out of range",
        "'decoder':{'type':'Fuse','x':18446744073709551616} | a number is out of range",
        "'decoder':{'type':'Fuse','x':'\\ud800'} | half a character",
        "'decoder':{'type':'Fuse','type':'Fuse'} | Duplicate",
        "'post_processor':{'type':'TemplateProcessing','single':[{'Sequence':{'id':'B','type_id':0}}],'pair':[],'special_tokens':{}}"
            + " | single has a piece that is neither A nor a token",
        "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'c','type_id':0}}],'pair':[],'special_tokens':{}}"
            + " | special_tokens lacks \"c\"",
        "'post_processor':{'type':'TemplateProcessing','single':[],'pair':[{'SpecialToken':{'id':'c','type_id':0}}],'special_tokens':{'c':{'id':'c','ids':[1],'tokens':[]}}}"
            + " | lacks \"c\"",
        "'added_tokens':[{'content':' ','normalized':true}],'normalizer':{'type':'Strip'}"
            + " | the normalizer may leave nothing",
        "'normalizer':{'type':'Replace','content':''},'added_tokens':[{'content':'-'}]"
            + " | the normalizer may leave nothing",
        "'model':{'type':'Unigram','vocab':[]} | model is Unigram",
        "'model':{'vocab':[['a',0.5]]} | expected an object model.vocab",
        "'model':{'type':'BPE','vocab':{},'continuing_subword_prefix':'##'} | prefix or suffix",
        "'model':{'end_of_word_suffix':'</w>','vocab':{}} | prefix or suffix",
        "'model':[] | expected an object model",
      })
  void refusesTheRest(String component, String part) {
    assertThatThrownBy(() -> check("{" + component + "}"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("tokenizer.json")
        .hasMessageContaining(part);
  }

  @Test
  void refusesDeepAndLongTexts() {
    assertThatThrownBy(() -> check("{'decoder':{'type':'Fuse','x':" + "[".repeat(70)))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("nesting depth");
    assertThatThrownBy(() -> check("{'added_tokens':[{'content':'" + "n".repeat(1001) + "'}]}"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("1001 characters");
    assertThatThrownBy(() -> check("[]"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("expected a JSON object");
  }
}
