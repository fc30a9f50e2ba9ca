-- twin: the index
-- without fix: 74-index-unusable
-- finds: info|74-index-unusable|shop.amounts
-- finds: info|74-index-unusable|shop.document
-- finds: info|74-index-unusable|shop.likes
-- finds: info|74-index-unusable|shop.moods
-- finds: info|74-index-unusable|shop.tags
-- finds: info|74-index-unusable|shop.words
-- by hand: DROP INDEX shop.amounts, shop.document, shop.likes, shop.moods, shop.tags, shop.words;
CREATE TYPE public.mood AS ENUM ('good');
ALTER TABLE shop.contact ADD amount numeric, ADD data jsonb, ADD tags text[], ADD mood public.mood;
CREATE INDEX amounts ON shop.contact (amount); CREATE INDEX document ON shop.contact USING gin (data);
CREATE INDEX likes ON shop.contact (account_id, name text_pattern_ops); CREATE INDEX moods ON shop.contact (mood);
CREATE INDEX tags ON shop.contact USING gin (tags);
CREATE INDEX words ON shop.contact USING gin (to_tsvector('english', name));
CREATE INDEX fine ON shop.contact USING hash (name); CREATE INDEX fine_too ON shop.contact (account_id, name, amount);
-- cannot be shown: the plan without the index is the plan with it, which is what is wrong
